/*-------------------------------------------------------------------------
 *
 * resign.h
 *	  What backends tell each other about HMAC secrets: no secret.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_RESIGN_H
#define APIKEYS_RESIGN_H

#include "store/store.h"

#define RESIGN_MAX_MISSING	16	/* secrets at a time */

extern void resign_init(void);
extern bool resign_available(void);

/* keys that are to be signed anew */
extern bool resign_note(const ResignRequest *request);
extern int	resign_take(Oid database, ResignRequest *requests, int max);
extern bool resign_is_due(Oid database);
extern void resign_forget_database(Oid database);

/* the file by which keys are signed */
extern void resign_announce_file(const char *path);
extern bool resign_file(char *path);

/* secrets that are missing */
extern void resign_swap_missing(Oid database, char *const *names, int n, bool *news);

#endif							/* APIKEYS_RESIGN_H */
