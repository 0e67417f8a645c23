/*-------------------------------------------------------------------------
 *
 * flush.h
 *	  Brings what is pending into the tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_H
#define APIKEYS_FLUSH_H

#include "utils/array.h"

#include "store/store.h"

#define FLUSH_BATCH 1000

extern int64 flush_uses(const KeyUse *uses, int nuses);
extern void flush_usage(RollUp *batch);
extern int64 flush_resign(const ResignRequest *requests, int nrequests);
extern void flush_forget_keys(ArrayType *ids);

#endif							/* APIKEYS_FLUSH_H */
