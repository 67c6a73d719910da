DEPS_http := base obs conf env value rt
PKGS_http := libuv libbrotlidec
LIBS_http := -lhttp_parser
