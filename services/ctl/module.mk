DEPS_ctl := base obs conf env value rt proto wire mvcc kv replog feed store
PKGS_ctl := libcurl jansson libprotobuf-c libuv
