DEPS_scheduler := base obs conf env value rt proto wire
PKGS_scheduler := libprotobuf-c libnats
