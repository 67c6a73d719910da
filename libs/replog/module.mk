DEPS_replog := base obs conf env rt
PKGS_replog := raft libuv
