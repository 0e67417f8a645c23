/*-------------------------------------------------------------------------
 *
 * keyhash.h
 *	  The hash under which a raw key is stored and looked up.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_KEYHASH_H
#define APIKEYS_KEYHASH_H

#define KEY_HASH_LEN 32			/* SHA-256 */

extern bytea *keyhash_compute(const text *raw_key, const bytea *secret);

#endif							/* APIKEYS_KEYHASH_H */
