DEPS_nodes := base obs conf env rt proto wire
PKGS_nodes := libprotobuf-c
