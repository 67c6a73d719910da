# BitBend. `make help` lists the targets. Every mode has its own folder: build/<mode>.
#
# A library is libs/X, a service services/X, a unit test tests/unit/X/*.c (one program a module X).
# module.mk names what a module uses: DEPS_X (modules, all that it includes), PKGS_X (pkg-config).
# A module is compiled with the include paths of its DEPS and no others.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

MODE ?= release
CC_debug := gcc
CC_release := gcc
CC_asan := gcc
CC_tsan := gcc
CC_clang := clang-14
CC_fuzz := clang-14
ifeq ($(origin CC),default)
CC := $(CC_$(MODE))
endif
ifeq ($(filter $(MODE),debug release asan tsan clang fuzz),)
$(error MODE is debug, release, asan, tsan, clang or fuzz)
endif
CXX ?= g++
WERROR ?= -Werror

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
  -Wmissing-prototypes -Wold-style-definition -Wformat=2 -Wundef -Wcast-align -Wcast-qual \
  -Wwrite-strings -Wpointer-arith -Wvla -Wnull-dereference -Wimplicit-fallthrough -Wswitch-enum \
  -Wdouble-promotion $(WERROR)
FLAGS_debug := -O0 -g -DBB_SLOW_ASSERTS
FLAGS_clang := -O1 -g -DBB_SLOW_ASSERTS
FLAGS_release := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
FLAGS_asan := -O1 -g -DBB_SLOW_ASSERTS -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
FLAGS_fuzz := -O1 -g -DBB_SLOW_ASSERTS -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
LINK_release := -pie -Wl,-z,relro,-z,now
LINK_asan := -fsanitize=address,undefined
LINK_tsan := -fsanitize=thread
LINK_fuzz := -fsanitize=address,undefined
# Position independent everywhere: the same objects go into programs and into the slot's add-on.
CFLAGS_ALL := -std=c17 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(FLAGS_$(MODE))
LDFLAGS_ALL := $(LINK_$(MODE))

OUT := build/$(MODE)
GEN := build/gen
NODE_PREFIX ?= services/worker/node_modules/node-linux-$(if $(filter aarch64,$(shell uname -m)),arm64,x64)
NODE ?= $(NODE_PREFIX)/bin/node

LIBS := $(patsubst libs/%/module.mk,%,$(wildcard libs/*/module.mk))
SERVICES := $(patsubst services/%/module.mk,%,$(wildcard services/*/module.mk))
include $(wildcard libs/*/module.mk services/*/module.mk)

# ---- protobuf: a module `proto` for those that name it ----
PROTOS := $(wildcard proto/*.proto)
PROTO_C := $(PROTOS:proto/%.proto=$(GEN)/proto/%.pb-c.c)
PROTO_H := $(PROTO_C:.c=.h)
$(GEN)/proto/%.pb-c.c $(GEN)/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(GEN)/proto
	@protoc-c -Iproto --c_out=$(GEN)/proto $<
PROTO_OBJ := $(PROTO_C:$(GEN)/%.c=$(OUT)/gen/%.o)
$(OUT)/gen/%.o: $(GEN)/%.c $(PROTO_H)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) -I$(GEN)/proto -c $< -o $@
$(OUT)/lib/libbb_proto.a: $(PROTO_OBJ)
	@mkdir -p $(@D)
	@rm -f $@ && ar rcs $@ $^

dir_of = $(if $(filter $(1),$(LIBS)),libs/$(1),services/$(1))
inc_of = $(if $(filter proto,$(1)),-I$(GEN)/proto,$(if $(filter $(1),$(LIBS)),-Ilibs/$(1)/include,-Iservices/$(1)/include))
pkg_cflags = $(if $(1),$(shell pkg-config --cflags $(1) 2>/dev/null))
# All modules below, lowest last; duplicates removed from the left so that the linker finds all.
closure = $(foreach d,$(DEPS_$(1)),$(d) $(call closure,$(d)))
uniq = $(if $(1),$(call uniq,$(filter-out $(lastword $(1)),$(1))) $(lastword $(1)))
link_libs = $(foreach m,$(1),$(OUT)/lib/libbb_$(m).a)
link_pkgs = $(sort $(foreach m,$(1),$(PKGS_$(m))))
link_raw = $(foreach m,$(1),$(LIBS_$(m)))

# $(1) module
define MODULE
SRC_$(1) := $$(filter-out $(call dir_of,$(1))/main.c $$(EXCLUDE_$(1)),$$(wildcard $(call dir_of,$(1))/*.c))
OBJ_$(1) := $$(SRC_$(1):%.c=$(OUT)/%.o)
INC_$(1) := $(call inc_of,$(1)) -I$(call dir_of,$(1)) $$(foreach d,$$(DEPS_$(1)),$$(call inc_of,$$(d)))
CPKG_$(1) := $$(call pkg_cflags,$$(PKGS_$(1)))
$(OUT)/$(call dir_of,$(1))/%.o: $(call dir_of,$(1))/%.c $(call dir_of,$(1))/module.mk | $$(if $$(filter proto,$$(DEPS_$(1))),$(PROTO_H))
	@mkdir -p $$(@D)
	@$$(CC) $$(CFLAGS_ALL) $$(WARNINGS) $$(INC_$(1)) $$(CPKG_$(1)) -MMD -MP -c $$< -o $$@
$(OUT)/lib/libbb_$(1).a: $$(OBJ_$(1))
	@mkdir -p $$(@D)
	@rm -f $$@ && ar rcs $$@ $$^
ALL_SRC += $$(SRC_$(1))
endef
$(foreach m,$(LIBS) $(SERVICES),$(eval $(call MODULE,$(m))))

# $(1) service with a main.c
define PROGRAM
ALL_OF_$(1) := $$(call uniq,$(1) $$(call closure,$(1)))
$(OUT)/bin/bb-$(1): $(OUT)/services/$(1)/main.o $$(call link_libs,$$(ALL_OF_$(1)))
	@mkdir -p $$(@D)
	@$$(CC) $$(CFLAGS_ALL) $$(LDFLAGS_ALL) -o $$@ $$< -Wl,--start-group $$(call link_libs,$$(ALL_OF_$(1))) -Wl,--end-group $$(if $$(call link_pkgs,$$(ALL_OF_$(1))),$$(shell pkg-config --libs $$(call link_pkgs,$$(ALL_OF_$(1))))) $$(call link_raw,$$(ALL_OF_$(1))) -lpthread -lm
PROGRAMS += $(OUT)/bin/bb-$(1)
endef
$(foreach m,$(SERVICES),$(if $(wildcard services/$(m)/main.c),$(eval $(call PROGRAM,$(m)))))

# ---- tests/<kind>/<module>/*.c: one program a module (unit), one a file (race, fuzz, bench) ----
UNIT := $(patsubst tests/unit/%/,%,$(sort $(dir $(wildcard tests/unit/*/*.c))))
define UNIT_PROGRAM
UOBJ_$(1) := $$(patsubst %.c,$(OUT)/%.o,$$(wildcard tests/unit/$(1)/*.c))
UALL_$(1) := $$(call uniq,$(1) $$(call closure,$(1)) $$(TESTDEPS_$(1)) $$(foreach d,$$(TESTDEPS_$(1)),$$(call closure,$$(d))))
$(OUT)/tests/unit/$(1)/%.o: tests/unit/$(1)/%.c | $$(PROTO_H)
	@mkdir -p $$(@D)
	@$$(CC) $$(CFLAGS_ALL) $$(filter-out -Wpedantic -Wshadow -Wdouble-promotion,$$(WARNINGS)) -Itests/unit $$(INC_$(1)) $$(CPKG_$(1)) $$(foreach d,$$(TESTDEPS_$(1)),$$(call inc_of,$$(d))) -MMD -MP -c $$< -o $$@
$(OUT)/test/unit_$(1): $$(UOBJ_$(1)) $$(call link_libs,$$(UALL_$(1)))
	@mkdir -p $$(@D)
	@$$(CC) $$(CFLAGS_ALL) $$(LDFLAGS_ALL) -o $$@ $$(UOBJ_$(1)) -Wl,--start-group $$(call link_libs,$$(UALL_$(1))) -Wl,--end-group $$(if $$(call link_pkgs,$$(UALL_$(1))),$$(shell pkg-config --libs $$(call link_pkgs,$$(UALL_$(1))))) $$(call link_raw,$$(UALL_$(1))) -lcriterion -lpthread -lm
UNIT_PROGRAMS += $(OUT)/test/unit_$(1)
endef
$(foreach m,$(UNIT),$(eval $(call UNIT_PROGRAM,$(m))))

# $(1) kind, $(2) module, $(3) name, $(4) extra flags
define SINGLE_PROGRAM
SALL_$(1)_$(2)_$(3) := $$(call uniq,$(2) $$(call closure,$(2)) $$(TESTDEPS_$(2)) $$(foreach d,$$(TESTDEPS_$(2)),$$(call closure,$$(d))))
$(OUT)/test/$(1)_$(2)_$(3): tests/$(1)/$(2)/$(3).c $$(call link_libs,$$(SALL_$(1)_$(2)_$(3))) | $$(PROTO_H)
	@mkdir -p $$(@D)
	@$$(CC) $$(CFLAGS_ALL) $$(LDFLAGS_ALL) $$(WARNINGS) $(4) $$(INC_$(2)) $$(CPKG_$(2)) $$(foreach d,$$(TESTDEPS_$(2)),$$(call inc_of,$$(d))) -o $$@ $$< -Wl,--start-group $$(call link_libs,$$(SALL_$(1)_$(2)_$(3))) -Wl,--end-group $$(if $$(call link_pkgs,$$(SALL_$(1)_$(2)_$(3))),$$(shell pkg-config --libs $$(call link_pkgs,$$(SALL_$(1)_$(2)_$(3))))) $$(call link_raw,$$(SALL_$(1)_$(2)_$(3))) -lpthread -lm
PROGRAMS_$(1) += $(OUT)/test/$(1)_$(2)_$(3)
endef
singles = $(foreach f,$(wildcard tests/$(1)/*/*.c),$(eval $(call SINGLE_PROGRAM,$(1),$(word 3,$(subst /, ,$(f))),$(basename $(notdir $(f))),$(2))))
$(call singles,race,)
$(call singles,bench,)
ifeq ($(MODE),fuzz)
$(call singles,fuzz,-fsanitize=fuzzer)
endif

include tests/sim/build.mk tests/loader/build.mk tests/subscriber/build.mk

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
-include $(wildcard libs/*/build.mk)

JOBS := $(shell nproc)
STAGES ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build dev cluster test lint format clean bench deep sim mutants \
  programs libraries unit-programs race-programs fuzz-programs bench-programs

programs: $(PROGRAMS) $(EXTRA_PROGRAMS)
libraries: $(patsubst %,$(OUT)/lib/libbb_%.a,$(LIBS) $(SERVICES))
unit-programs: $(UNIT_PROGRAMS)
race-programs: $(PROGRAMS_race)
fuzz-programs: $(PROGRAMS_fuzz)
bench-programs: $(PROGRAMS_bench)

## help: this list
help:
	@sed -n 's/^## \([a-z-]*\): \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "  make %-8s %s\n", $$1, $$2 }'

## setup: install what building needs (Debian packages, libraft, npm packages)
setup:
	@deploy/setup/setup.sh build

setup-test:
	@deploy/setup/setup.sh build test

## build: install what is missing, build all programs (MODE=release; debug, asan, tsan, clang too)
build: setup
	@$(MAKE) -s -j$(JOBS) programs

## dev: build, start the embedded suite and the chat example, say where to look; Ctrl-C ends it
dev: build
	@cd docs/examples/chat && exec "$(CURDIR)/$(NODE)" node_modules/bitbend/bin/bitbend.cjs dev

## cluster: build, start the whole suite as separate processes (three storage nodes, two of the rest); Ctrl-C ends it
cluster: build
	@exec $(NODE) deploy/cluster/cluster.mjs --app docs/examples/chat

## test: install what is missing, build, run all tests (STAGES="lint unit sim clang asan race fuzz integration browser")
test: setup-test
	@tests/run.sh $(STAGES)

## lint: the checks that need no running suite
lint: setup-test
	@tests/run.sh lint

## format: bring all C and C++ files into the project's form
format:
	@clang-format-14 -i $$(git ls-files --cached --others --exclude-standard '*.c' '*.h' '*.cc' '*.hh')

## deep: what is too long for every change: analyzers, long fuzzing, checkers and kills over many seeds
deep: setup-test
	@tests/deep.sh

## sim: the services in one deterministic program (SCENARIO=kills SEED=7: one run; else SECONDS=30 of fresh seeds)
sim:
	@$(MAKE) -s -j$(JOBS) MODE=release sim-programs
	@build/release/test/sim $(if $(SCENARIO),--scenario=$(SCENARIO)) $(if $(SEED),--seed=$(SEED),--seconds=$(if $(SECONDS),$(SECONDS),30)) $(if $(VERBOSE),--verbose)

## mutants: plant bugs one by one into a copy of the tree; each must be caught (NAMES="forget-epoch ..": only these)
mutants: setup-test
	@tests/mutants/run.sh $(NAMES)

## bench: BitBend and its peers, interleaved; one JSON object a line in build/bench/results.jsonl
bench:
	@deploy/setup/setup.sh build bench
	@$(MAKE) -s -j$(JOBS) programs bench-programs
	@tests/bench/run.sh

## clean: remove everything that was built
clean:
	rm -rf build
