# apikeys: API keys inside PostgreSQL
#
#   make && make install    build and install; PG_CONFIG= chooses the server
#   make demo               the life of a key on a throw-away cluster
#   make test               every test, on throw-away clusters
#   make lint, make format  check the sources, put them in shape
#   make bench              what a verify costs, beside what one could do instead
#
# The version stands in apikeys.control alone.

EXTENSION = apikeys
MODULE_big = apikeys
OBJS = $(patsubst $(srcdir)/%.c,%.o,$(wildcard $(srcdir)/src/*.c $(srcdir)/src/*/*.c))
DATA_built = $(CURDIR)/apikeys--$(version).sql
PG_CPPFLAGS = -I$(srcdir)/src
version = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(srcdir)/apikeys.control)
REGRESS = $(shell sed -n 's/^test: *//p' $(srcdir)/sql/schedule)
# On a server of any encoding and locale, and whatever PGOPTIONS says.
ENCODING = UTF8
NO_LOCALE = 1
installcheck: export PGOPTIONS =

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

# make demo brings the server, so this file must parse where there is none.
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
ifeq ($(wildcard $(srcdir)/src/*/*.c),)
$(error there are no sources in $(srcdir)/src)
endif

# The parts of the install script, joined; the folder, for a part that goes.
# The path is absolute, or make would find by VPATH what stands in the sources.
$(DATA_built): $(sort $(wildcard $(srcdir)/sql/install/*.sql)) $(srcdir)/sql/install
	cat $(filter %.sql,$^) >$@
else
all install uninstall installcheck clean:
	@echo "$@: the build files of PostgreSQL (PGXS) were not found with $(PG_CONFIG)." >&2
	@echo "Install postgresql-server-dev-NN (Debian) or postgresqlNN-devel (RPM)," >&2
	@echo "or name the server: make $@ PG_CONFIG=/path/to/pg_config" >&2
	@exit 1
endif

# PGXS does not track headers, and makes no folders for objects.  Their paths
# are absolute, or make would find those of the sources by VPATH.
folders = $(addprefix $(CURDIR)/,$(sort $(dir $(OBJS))))
$(OBJS) $(OBJS:.o=.bc): $(wildcard $(srcdir)/src/*/*.h) | $(folders)
$(folders):
	@mkdir -p $@

demo:
	@test/demo

test:
	@test/run

lint:
	@test/lint/run

bench:
	@test/bench/run

format:
	@test/lint/run format

.PHONY: all install uninstall installcheck clean demo test lint bench format
