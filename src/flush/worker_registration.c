/*-------------------------------------------------------------------------
 *
 * worker_registration.c
 *	  Registers flush workers with the postmaster.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/worker.h"
#include "flush/worker_registration.h"

/*
 * Registers a flush worker for a database, which sleeps for the delay before
 * it connects.  Returns false if the server has no free worker slot.
 */
bool
worker_registration_register(Oid database, int64 delay_ms)
{
	BackgroundWorker worker;

	StaticAssertDecl(sizeof(delay_ms) <= sizeof(worker.bgw_extra), "the delay is passed there");
	Assert(OidIsValid(database) && delay_ms >= 0);

	worker_fill(&worker, "apikeys flush worker", "apikeys_flush_worker_main");
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	memcpy(worker.bgw_extra, &delay_ms, sizeof(delay_ms));

	return RegisterDynamicBackgroundWorker(&worker, NULL);
}
