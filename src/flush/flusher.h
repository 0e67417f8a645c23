/*-------------------------------------------------------------------------
 *
 * flusher.h
 *	  The short-lived worker that persists what is due in one database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSHER_H
#define APIKEYS_FLUSHER_H

extern PGDLLEXPORT void apikeys_flusher_main(Datum database);

#endif							/* APIKEYS_FLUSHER_H */
