DEPS_wire := base obs conf env value rt proto
PKGS_wire := libprotobuf-c libuv
LIBS_wire := -lnng
