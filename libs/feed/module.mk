DEPS_feed := base obs conf env rt
PKGS_feed := libuv
