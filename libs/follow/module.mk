DEPS_follow := base obs conf env rt proto wire
PKGS_follow := libprotobuf-c
