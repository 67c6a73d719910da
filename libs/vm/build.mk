# The slot's add-on: libs/vm's C++, the slot's C, and the JavaScript texts of both, loaded by Node.js.
# And the same engine with a self-test in place of the slot, for tests/integration/vm.

NODE_INCLUDE := $(NODE_PREFIX)/include/node
VM_CC := $(sort $(wildcard libs/vm/*.cc))
VM_CC_OBJ := $(VM_CC:%.cc=$(OUT)/%.o)
VM_JS := $(sort $(wildcard libs/vm/js/*.js))
SLOT_RUNTIME := $(sort $(wildcard services/worker/runtime/*.js))
SLOT_C := $(sort $(wildcard services/worker/slot/*.c))
SLOT_OBJ := $(SLOT_C:%.c=$(OUT)/%.o)
SLOT_DEPS := $(DEPS_slot)
INC_slot := -Iservices/worker/slot $(foreach m,$(SLOT_DEPS),$(call inc_of,$(m)))
SLOT_MODULES := $(call uniq,vm $(filter-out vm,$(SLOT_DEPS)) $(foreach m,$(SLOT_DEPS),$(call closure,$(m))))
VM_TEST_C := $(sort $(wildcard tests/integration/vm/*.c))
VM_TEST_RUNTIME := $(sort $(wildcard tests/integration/vm/runtime/*.js))
VM_TEST_MODULES := $(call uniq,vm $(call closure,vm))

CXX_WARNINGS := -Wall -Wextra -Wformat=2 -Wundef -Wno-missing-field-initializers -Werror
CXXFLAGS_ALL := -std=c++20 -D_GNU_SOURCE -fPIC -fvisibility=hidden -fno-rtti -fno-exceptions $(FLAGS_$(MODE))

# Optional packages fail silently: is the pinned Node.js there, does it run, do its headers fit it?
NODE_CHECK := $(GEN)/node-$(subst /,-,$(NODE_PREFIX)).ok
$(NODE_CHECK): $(wildcard $(NODE) $(NODE_INCLUDE)/node_version.h)
	@mkdir -p $(@D)
	@test -x $(NODE) -a -f $(NODE_INCLUDE)/node_version.h || \
	  { echo "$(NODE_PREFIX) is missing: run 'npm ci --ignore-scripts' in services/worker" >&2; exit 1; }
	@runs=$$($(NODE) -p process.versions.modules); \
	  needs=$$(sed -n 's/^#define NODE_MODULE_VERSION \([0-9][0-9]*\).*/\1/p' $(NODE_INCLUDE)/node_version.h); \
	  test "$$runs" = "$$needs" || \
	  { echo "$(NODE) has module version $$runs, its headers have $$needs" >&2; exit 1; }
	@touch $@

$(OUT)/libs/vm/%.o: libs/vm/%.cc libs/vm/build.mk | $(NODE_CHECK)
	@mkdir -p $(@D)
	@$(CXX) $(CXXFLAGS_ALL) $(CXX_WARNINGS) -isystem $(NODE_INCLUDE) $(INC_vm) -MMD -MP -c $< -o $@

$(OUT)/services/worker/slot/%.o: services/worker/slot/%.c | $(PROTO_H)
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(WARNINGS) -Iservices/worker/slot $(foreach m,$(SLOT_DEPS),$(call inc_of,$(m))) -MMD -MP -c $< -o $@

# Without the add-on there is no engine: what needs one is not linked.
$(OUT)/lib/libbb_slot.a: $(SLOT_OBJ)
	@mkdir -p $(@D)
	@rm -f $@ && ar rcs $@ $^

$(GEN)/vm_js.c: $(VM_JS) libs/vm/embed.sh
	@mkdir -p $(@D)
	@sh libs/vm/embed.sh bb_vm_js $(VM_JS) > $@
$(GEN)/slot_runtime.c: $(SLOT_RUNTIME) libs/vm/embed.sh
	@mkdir -p $(@D)
	@sh libs/vm/embed.sh bb_vm_runtime $(SLOT_RUNTIME) > $@
$(GEN)/vm_test_runtime.c: $(VM_TEST_RUNTIME) libs/vm/embed.sh
	@mkdir -p $(@D)
	@sh libs/vm/embed.sh bb_vm_runtime $(VM_TEST_RUNTIME) > $@
$(OUT)/gen/vm_js.o $(OUT)/gen/slot_runtime.o $(OUT)/gen/vm_test_runtime.o: $(OUT)/gen/%.o: $(GEN)/%.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) -c $< -o $@

# $(1) target, $(2) objects, $(3) modules
define ADDON
$(1): $(2) $(VM_CC_OBJ) $(OUT)/gen/vm_js.o $$(call link_libs,$(3))
	@mkdir -p $$(@D)
	@$(CXX) $(CXXFLAGS_ALL) $(filter-out -pie,$(LDFLAGS_ALL)) -shared -o $$@ $(2) $(VM_CC_OBJ) $(OUT)/gen/vm_js.o -Wl,--start-group $$(call link_libs,$(3)) -Wl,--end-group $$(shell pkg-config --libs $$(call link_pkgs,$(3)) libprotobuf-c) -lpthread -lm
endef
$(eval $(call ADDON,$(OUT)/bb_slot.node,$(SLOT_OBJ) $(OUT)/gen/slot_runtime.o,$(SLOT_MODULES)))
$(eval $(call ADDON,$(OUT)/test/bb_vm_test.node,$(VM_TEST_C:%.c=$(OUT)/%.o) $(OUT)/gen/vm_test_runtime.o,$(VM_TEST_MODULES)))
$(VM_TEST_C:%.c=$(OUT)/%.o): $(OUT)/%.o: %.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_ALL) $(WARNINGS) $(INC_vm) -MMD -MP -c $< -o $@

$(OUT)/slot.cjs: services/worker/slot.cjs
	@mkdir -p $(@D)
	@cp $< $@

EXTRA_PROGRAMS += $(OUT)/bb_slot.node $(OUT)/slot.cjs $(OUT)/test/bb_vm_test.node
