/*-------------------------------------------------------------------------
 *
 * errors.h
 *	  The complaints that several functions share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_ERRORS_H
#define APIKEYS_ERRORS_H

#include "fmgr.h"
#include "utils/uuid.h"

extern void require_argument(FunctionCallInfo fcinfo, int argno, const char *name);
extern void key_not_found(const pg_uuid_t *id) pg_attribute_noreturn();

#endif							/* APIKEYS_ERRORS_H */
