DEPS_value := base
PKGS_value := jansson
