/*-------------------------------------------------------------------------
 *
 * init.c
 *	  The entry point of the library.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/compat.h"
#include "cache/changes.h"
#include "cache/shared_keys.h"
#include "feed/feed_worker.h"
#include "flush/flush_queue.h"
#include "flush/launcher.h"
#include "flush/wake_up.h"
#include "hooks/database_use.h"
#include "hooks/object_drop.h"
#include "hooks/prepared.h"
#include "hooks/redact.h"
#include "hooks/table_change.h"
#include "hooks/transaction.h"
#include "live/budget_sums.h"
#include "live/counters.h"
#include "live/feed_state.h"
#include "live/flush_problems.h"
#include "live/missing_secrets.h"
#include "live/rehash_queue.h"
#include "live/secret_file.h"
#include "live/state_file.h"
#include "live/tracked_keys.h"
#include "settings/feed_settings.h"
#include "settings/guc.h"
#include "settings/hmac_secrets.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	hmac_secrets_init();
	feed_settings_init();
	guc_init();
	counters_init();
	tracked_keys_init();
	feed_state_init();
	flush_problems_init();
	flush_queue_init();
	wake_up_init();
	budget_sums_init();
	rehash_queue_init();
	secret_file_init();
	missing_secrets_init();
	changes_init();
	shared_keys_init();
	launcher_init();
	feed_worker_init();
	state_file_init();
	object_drop_init();
	table_change_init();
	prepared_init();
	database_use_init();
	redact_init();
	transaction_init();
}
