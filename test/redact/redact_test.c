/*-------------------------------------------------------------------------
 *
 * redact_test.c
 *	  Messages from where the log hook has little to stand on.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * Preloaded before apikeys, this is a hook to which that of apikeys passes
 * on: with test.talk it reports what it is shown, from inside of the hook.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(test_report);
PG_FUNCTION_INFO_V1(test_report_at_exit);
PG_FUNCTION_INFO_V1(test_report_without_memory);

void		_PG_init(void);

static bool talk = false;
static char *at_exit;

/* Says what it is shown, with the key that it has itself. */
static void
talking_hook(ErrorData *edata)
{
	static bool talking = false;

	if (talk && !talking && edata->message != NULL)
	{
		talking = true;
		ereport(LOG,
				(errmsg_internal("shown: %s", edata->message),
				 errdetail_internal("%s", at_exit ? at_exit : "nothing")));
		talking = false;
	}
}

void
_PG_init(void)
{
	DefineCustomBoolVariable("test.talk", "Talks.", NULL, &talk, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	emit_log_hook = talking_hook;
}

/* test_report(level int, message text, critical boolean): void */
Datum
test_report(PG_FUNCTION_ARGS)
{
	char	   *message = text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (PG_GETARG_BOOL(2))
		START_CRIT_SECTION();
	ereport(PG_GETARG_INT32(0),
			(errmsg_internal("report: %s", message),
			 errdetail_internal("%s", message),
			 errdetail_log("%s", message),
			 errhint("%s", message),
			 errcontext("%s", message)));
	if (PG_GETARG_BOOL(2))
		END_CRIT_SECTION();

	PG_RETURN_VOID();
}

static void
report_at_exit(int code, Datum arg)
{
	ereport(LOG, (errmsg_internal("at exit: %s", at_exit)));
}

/* test_report_at_exit(message text): void */
Datum
test_report_at_exit(PG_FUNCTION_ARGS)
{
	at_exit = strdup(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	on_proc_exit(report_at_exit, (Datum) 0);
	before_shmem_exit(report_at_exit, (Datum) 0);

	PG_RETURN_VOID();
}

/*
 * test_report_without_memory(mb int, message text): void, a warning at a time
 * when so much memory is left and no more.
 */
Datum
test_report_without_memory(PG_FUNCTION_ARGS)
{
	char	   *message = text_to_cstring(PG_GETARG_TEXT_PP(1));
	struct rlimit unlimited;
	struct rlimit limited;
	long		pages;
	FILE	   *statm = fopen("/proc/self/statm", "r");

	if (statm == NULL || fscanf(statm, "%ld", &pages) != 1 ||
		getrlimit(RLIMIT_AS, &unlimited) != 0)
		elog(ERROR, "could not find out the size of the process");
	fclose(statm);

	limited = unlimited;
	limited.rlim_cur = (rlim_t) pages * sysconf(_SC_PAGESIZE) +
					   (rlim_t) PG_GETARG_INT32(0) * 1024 * 1024;
	setrlimit(RLIMIT_AS, &limited);
	ereport(WARNING, (errmsg_internal("report: %s", message)));
	setrlimit(RLIMIT_AS, &unlimited);

	PG_RETURN_VOID();
}
