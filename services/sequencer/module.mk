DEPS_sequencer := base obs conf env value rt proto wire occ
PKGS_sequencer := libprotobuf-c
