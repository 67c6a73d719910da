DEPS_solo := base obs conf env rt storage sequencer worker scheduler gateway
PKGS_solo := libuv
