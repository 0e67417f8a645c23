/*-------------------------------------------------------------------------
 *
 * init.c
 *	  The front door of the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/compat.h"
#include "flush/flushqueue.h"
#include "flush/launcher.h"
#include "hooks/drop.h"
#include "hooks/redact.h"
#include "live/counters.h"
#include "live/keytable.h"
#include "live/resign.h"
#include "live/restart.h"
#include "live/spending.h"
#include "settings/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	guc_init();
	counters_init();
	keytable_init();
	flushqueue_init();
	spending_init();
	resign_init();
	launcher_init();
	restart_init();
	drop_init();
	redact_init();
}
