DEPS_ctl := base obs conf env value rt wire proto
PKGS_ctl := libcurl jansson libprotobuf-c libuv
