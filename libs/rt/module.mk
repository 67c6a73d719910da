DEPS_rt := base obs conf env
PKGS_rt := libuv
