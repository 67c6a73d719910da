DEPS_follow := base obs conf env rt proto wire nodes
PKGS_follow := libprotobuf-c
