DEPS_solo := base obs conf env rt storage sequencer worker gateway
PKGS_solo := libuv
