DEPS_scheduler := base obs conf env value rt proto wire nodes follow nats
PKGS_scheduler := libprotobuf-c
