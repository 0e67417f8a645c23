/*-------------------------------------------------------------------------
 *
 * worker_session.c
 *	  The transactions of a flush worker, and its settings.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "flush/worker_session.h"

/*
 * Starts a transaction, security-restricted: triggers that users have made on
 * our tables run with our rights.
 */
void
worker_begin_work(void)
{
	Oid			userid;
	int			sec_context;

	Assert(!IsTransactionState());

	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(userid, sec_context | SECURITY_RESTRICTED_OPERATION);
	pgstat_report_activity(STATE_RUNNING, "persisting activity");
}

void
worker_end_work(void)
{
	Oid			userid;
	int			sec_context;

	Assert(IsTransactionState());

	GetUserIdAndSecContext(&userid, &sec_context);
	Assert((sec_context & SECURITY_RESTRICTED_OPERATION) != 0);
	SetUserIdAndSecContext(userid, sec_context & ~SECURITY_RESTRICTED_OPERATION);
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Overrides what ALTER DATABASE or ALTER ROLE could have set to stop us. */
void
worker_override_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"lock_timeout", "1s"},
		{"transaction_timeout", "0"}, /* from 17 on */
		{"exit_on_error", "off"},
		/* After a crash a lost batch is still pending, or harmless. */
		{"synchronous_commit", "off"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		if (GetConfigOption(settings[i][0], true, false) == NULL)
			continue;			/* not in this version */
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}
}
