/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The background worker that starts flush workers.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_LAUNCHER_H
#define APIKEYS_FLUSH_LAUNCHER_H

#include "base/compat.h"

extern void launcher_init(void);
extern PGDLLEXPORT void apikeys_launcher_main(Datum arg);

#endif							/* APIKEYS_FLUSH_LAUNCHER_H */
