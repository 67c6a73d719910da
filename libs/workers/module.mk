DEPS_workers := base obs conf env rt proto wire
PKGS_workers := libprotobuf-c
