DEPS_gateway := base obs conf env value rt proto wire nodes workers follow nats http jwt
PKGS_gateway := libprotobuf-c libcurl jansson
LIBS_gateway :=
