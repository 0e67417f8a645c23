/*-------------------------------------------------------------------------
 *
 * wake_up.c
 *	  Wakes the launcher.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 * The pointer to its latch is written by the launcher alone and read without a
 * lock: setting the latch of another process does no harm.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"

#include "base/shmem.h"
#include "flush/wake_up.h"
#include "settings/guc.h"

#define SOON_MS		1000
#define URGENT_MS	100

typedef struct Launcher
{
	ShmemHeader header;
	Latch	   *latch;			/* NULL: there is no launcher */
	pg_atomic_uint32 told;		/* a WakeUp */
} Launcher;

static Size
launcher_size(void)
{
	return sizeof(Launcher);
}

static void
launcher_init_shared(void *address)
{
	Launcher   *launcher = address;

	launcher->latch = NULL;
	pg_atomic_init_u32(&launcher->told, WAKE_UP_NONE);
}

static ShmemSegment segment = {
	.name = "apikeys launcher",
	.size = launcher_size,
	.init = launcher_init_shared,
};

void
wake_up_init(void)
{
	shmem_add(&segment);
}

/* Attaches what the other functions need, which may fail. */
bool
wake_up_attach(void)
{
	return shmem_attach(&segment) != NULL;
}

static Launcher *
attached_launcher(void)
{
	Launcher   *launcher = shmem_attach(&segment);

	Assert(launcher != NULL);
	return launcher;
}

/* Wakes the launcher, unless it has been told to do as much. */
void
wake_up_launcher(WakeUp what)
{
	Launcher   *launcher = attached_launcher();
	Latch	   *latch = *(Latch *volatile *) &launcher->latch;
	uint32		told = pg_atomic_read_u32(&launcher->told);

	while (told < (uint32) what)
	{
		if (!pg_atomic_compare_exchange_u32(&launcher->told, &told, what))
			continue;
		if (latch != NULL)
			SetLatch(latch);
		break;
	}
}

/* Returns for how long the flush queue need not be looked at again, in milliseconds. */
int
wake_up_interval(WakeUp what)
{
	switch (what)
	{
		case WAKE_UP_SOON:
			return Min(SOON_MS, guc_flush_interval);
		case WAKE_UP_URGENT:
			return Min(URGENT_MS, guc_flush_interval);
		default:
			return guc_flush_interval;
	}
}

/* Sets the latch by which the launcher is woken; NULL when it exits. */
void
wake_up_set_latch(Latch *latch)
{
	Assert(MyBackendType == B_BG_WORKER);
	attached_launcher()->latch = latch;
}

/* What has the launcher been told since wake_up_clear()? */
WakeUp
wake_up_read(void)
{
	return pg_atomic_read_u32(&attached_launcher()->told);
}

/* To be called before the queue is read, so that no later report is lost. */
void
wake_up_clear(void)
{
	pg_atomic_exchange_u32(&attached_launcher()->told, WAKE_UP_NONE);
}
