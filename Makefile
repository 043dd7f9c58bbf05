# repave: one Makefile, out-of-tree objects under build/<flavour>/.
#   make            the tools            make check     everything that must pass, quick
#   make demo       the main job         make bench     paired measurements, long
# Knobs: CC=clang  SAN=address,undefined  WERROR=0  OPT=-O0  B=DIR  T=live/redzone (one test)
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
CC       := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
AR       ?= ar
OPT      ?= -O2
WERROR   ?= 1
SAN      ?=
FLAVOUR  := $(notdir $(firstword $(CC)))$(if $(SAN),-san)
B        ?= build/$(FLAVOUR)
PREFIX   ?= /usr/local
DESTDIR  ?=

WARN     := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
            -Wwrite-strings -Wvla -Wformat=2 -Wundef $(if $(filter 1,$(WERROR)),-Werror)
CPPFLAGS := -I. -D_GNU_SOURCE
CFLAGS   := -std=gnu11 -g $(OPT) -fno-omit-frame-pointer -fno-strict-aliasing -pthread $(WARN) \
            $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
LDFLAGS  := -pthread $(if $(SAN),-fsanitize=$(SAN))

# Third parties are fenced: each library is linked only by the tools listed here (tests/layers.sh checks includes).
LIBS_formats := -llz4 -lxxhash -ljansson
LIBS_analyze := -lelf -ldwarf -lZydis -lcapstone
LIBS_profile := -lpfm
LIBS_apply   :=
LIBS_dump    :=

TOOLS := analyze profile apply dump
lib_sources  = $(filter-out %/main.c,$(wildcard $(1)/*.c $(1)/*/*.c))
asm_sources  = $(wildcard $(1)/*.S $(1)/*/*.S)
objects      = $(patsubst %,$(B)/%.o,$(1))

FORMATS_LIB := $(B)/libformats.a
BINARIES    := $(TOOLS:%=$(B)/repave-%)

all: $(BINARIES)

$(B)/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@
$(B)/%.S.o: %.S
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(FORMATS_LIB): $(call objects,$(call lib_sources,formats))
	@rm -f $@
	$(AR) rcs $@ $^

define tool_rules
$(B)/lib$(1).a: $(call objects,$(call lib_sources,$(1)) $(call asm_sources,$(1)))
	@rm -f $$@
	$(AR) rcs $$@ $$^
$(B)/repave-$(1): $(B)/$(1)/main.c.o $(B)/lib$(1).a $(FORMATS_LIB)
	$(CC) $(LDFLAGS) $$^ $(LIBS_$(1)) $(LIBS_formats) -o $$@
endef
$(foreach t,$(TOOLS),$(eval $(call tool_rules,$(t))))

# A unit test tests/unit/<tool>/test_x.c links lib<tool>.a; tests/unit/formats/test_x.c only formats.
UNIT_SOURCES := $(wildcard tests/unit/*/test_*.c)
UNIT_TESTS   := $(patsubst tests/unit/%.c,$(B)/unit/%,$(UNIT_SOURCES))
define unit_rule
$(B)/unit/$(1): $(B)/tests/unit/$(1).c.o $(if $(filter formats,$(patsubst %/,%,$(dir $(1)))),,$(B)/lib$(patsubst %/,%,$(dir $(1))).a) $(FORMATS_LIB)
	@mkdir -p $$(@D)
	$(CC) $(LDFLAGS) $$^ -lcmocka $(LIBS_$(patsubst %/,%,$(dir $(1)))) $(LIBS_formats) -o $$@
endef
$(foreach u,$(patsubst tests/unit/%.c,%,$(UNIT_SOURCES)),$(eval $(call unit_rule,$(u))))
unit-tests: $(UNIT_TESTS)

clean:
	rm -rf build compile_commands.json

.PHONY: all clean unit-tests
-include $(shell test -d $(B) && find $(B) -name '*.d')
