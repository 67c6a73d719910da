DEPS_scheduler := base obs conf env value rt proto wire follow nats
PKGS_scheduler := libprotobuf-c
