/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The background worker that starts flushers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_LAUNCHER_H
#define APIKEYS_LAUNCHER_H

extern void launcher_init(void);
extern PGDLLEXPORT void apikeys_launcher_main(Datum arg);

#endif							/* APIKEYS_LAUNCHER_H */
