/*-------------------------------------------------------------------------
 *
 * key_arguments.h
 *	  What the arguments of functions that make keys say of these.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_API_KEY_ARGUMENTS_H
#define APIKEYS_API_KEY_ARGUMENTS_H

#include "fmgr.h"

#include "store/keys.h"

/* How many arguments apikey_generate has, and apikey_import from description on. */
#define GENERATE_NARGS	(CONFIG_ENABLED + 1)
#define IMPORT_NARGS	(CONFIG_ENABLED + 1)

extern char *key_arguments_generated(FunctionCallInfo fcinfo, int first, int nkeys,
									 KeyConfig *config, TimestampTz now);
extern void key_arguments_imported(FunctionCallInfo fcinfo, int first, NewKey *key,
								   KeyConfig *config, TimestampTz now);
extern void key_arguments_warn_of_limits(const pg_uuid_t *id);

#endif							/* APIKEYS_API_KEY_ARGUMENTS_H */
