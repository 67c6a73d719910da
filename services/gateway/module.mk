DEPS_gateway := base obs conf env value rt proto wire http
PKGS_gateway := libprotobuf-c libnats
LIBS_gateway :=
