DEPS_replog := base obs conf env rt
PKGS_replog := libuv
# libraft as an archive, so that its checksum can be exchanged (crc.c).
LIBS_replog := -Wl,--wrap=byteCrc32 -l:libraft.a -l:liblz4.so.1
