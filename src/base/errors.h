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
#include "utils/numeric.h"
#include "utils/uuid.h"

#include "base/compat.h"

extern void require_argument(FunctionCallInfo fcinfo, int argno, const char *name);
extern void check_row_count(FunctionCallInfo fcinfo, int argno, const char *name);
extern void check_amount(const char *what, Numeric amount);
extern int	hint_preload(void);
pg_noreturn extern void key_not_found(const pg_uuid_t *id);

#endif							/* APIKEYS_ERRORS_H */
