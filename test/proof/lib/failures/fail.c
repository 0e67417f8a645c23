/*-------------------------------------------------------------------------
 *
 * fail.c
 *	  Which call is to fail, and what has been counted: for the tests alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * With APIKEYS_FAIL=N in its environment, the Nth call of each process of a
 * server fails from the start on.  With APIKEYS_FAIL_BY the process crashes, exits
 * without a word or hangs there: that has to be found.
 *
 *-------------------------------------------------------------------------
 */
#include "fail.h"

#undef pstrdup
#undef psprintf
#undef cstring_to_text

#pragma GCC visibility push(default)
PG_FUNCTION_INFO_V1(apikeys_fail_at);
PG_FUNCTION_INFO_V1(apikeys_fail_report);
#pragma GCC visibility pop

int			apikeys_fail_nlocks = 0;

static int	to_fail = -1;		/* none; 0: only count */
static int	ncalls = 0;
static char failed[200] = "";	/* what has */
static char under_lock[200] = ""; /* what was called where it must not be */

static void
read_environment(void)
{
	const char *text = getenv("APIKEYS_FAIL");

	to_fail = text != NULL ? atoi(text) : -1;
}

static void
misbehave(void)
{
	const char *how = getenv("APIKEYS_FAIL_BY");

	if (how != NULL && strcmp(how, "crash") == 0)
		abort();
	if (how != NULL && strcmp(how, "exit") == 0)
		_exit(1);
	while (how != NULL && strcmp(how, "hang") == 0)
		pg_usleep(100000L);
}

bool
apikeys_fail_here(const char *file, int line, const char *what)
{
	static bool started = false;

	if (!started)
		read_environment();
	started = true;
	if (to_fail < 0)
		return false;
	ncalls++;
	if (apikeys_fail_nlocks > 0 && under_lock[0] == '\0')
		snprintf(under_lock, sizeof(under_lock), "%s:%d %s", file, line, what);
	if (ncalls != to_fail)
		return false;
	snprintf(failed, sizeof(failed), "%s:%d %s", file, line, what);
	if (getenv("APIKEYS_FAIL") != NULL)
		write_stderr("apikeys_fail: %s\n", failed);
	misbehave();
	return true;
}

/* In an allocation under a lock nothing is raised: it is reported. */
void
apikeys_fail_error(const char *file, int line, const char *what, int sqlstate)
{
	if (apikeys_fail_here(file, line, what))
		ereport(ERROR, (errcode(sqlstate), errmsg("apikeys_fail: %s", failed)));
}

/* apikeys_fail_at(n): the nth call from now on fails. */
Datum
apikeys_fail_at(PG_FUNCTION_ARGS)
{
	apikeys_fail_nlocks = 0;
	failed[0] = under_lock[0] = '\0';
	ncalls = 0;
	to_fail = PG_GETARG_INT32(0);
	PG_RETURN_VOID();
}

/* What has failed; what was called under a lock; how many calls there were. */
Datum
apikeys_fail_report(PG_FUNCTION_ARGS)
{
	to_fail = -1;
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s|%s|%d", failed, under_lock, ncalls)));
}
