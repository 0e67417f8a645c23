/*-------------------------------------------------------------------------
 *
 * init.c
 *	  The front door of the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "compat.h"
#include "counters.h"
#include "drop.h"
#include "flushqueue.h"
#include "guc.h"
#include "keytable.h"
#include "launcher.h"
#include "redact.h"
#include "resign.h"
#include "restart.h"
#include "spending.h"

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
