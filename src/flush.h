/*-------------------------------------------------------------------------
 *
 * flush.h
 *	  Brings what is pending into the tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_FLUSH_H
#define APIKEYS_FLUSH_H

#include "store.h"

#define FLUSH_BATCH 1000

extern int64 flush_uses(const KeyUse *uses, int nuses);
extern void flush_usage(RollUp *batch);

#endif							/* APIKEYS_FLUSH_H */
