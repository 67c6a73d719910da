DEPS_jwt := base
PKGS_jwt := libcrypto jansson
