DEPS_gateway := base obs conf env value rt proto wire http jwt
PKGS_gateway := libprotobuf-c libnats libcurl jansson
LIBS_gateway :=
