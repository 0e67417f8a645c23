/*-------------------------------------------------------------------------
 *
 * allowed_ips.c
 *	  The addresses and networks from which a key may be used.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "utils/inet.h"

#include "model/allowed_ips.h"

#define ALLOWED_IPS_MAX			1000

/* The size of an array of so many addresses, nulls perhaps among them. */
#define ALLOWED_IPS_MAX_BYTES \
	(ARR_OVERHEAD_WITHNULLS(MAXDIM, ALLOWED_IPS_MAX) + \
	 ALLOWED_IPS_MAX * INTALIGN(VARHDRSZ + sizeof(inet_struct)))

pg_noreturn static void
raise_too_many_ips(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("allowed_ips has too many elements"),
			 errdetail("It may have %d.", ALLOWED_IPS_MAX),
			 errhint("Networks, such as 10.0.0.0/8, stand for many addresses.")));
}

/* Raises 22023 for a list that is too large, before it is read. */
void
allowed_ips_check_size(Datum ips)
{
	if (toast_raw_datum_size(ips) > ALLOWED_IPS_MAX_BYTES)
		raise_too_many_ips();
}

/*
 * Raises 22023 unless the list has one dimension and elements, not too many,
 * none of them null.  An empty one must not be taken for none, which allows any
 * address.
 */
void
allowed_ips_check(ArrayType *ips)
{
	if (ArrayGetNItems(ARR_NDIM(ips), ARR_DIMS(ips)) > ALLOWED_IPS_MAX)
		raise_too_many_ips();
	if (ARR_NDIM(ips) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("allowed_ips must have one dimension")));
	if (ArrayGetNItems(ARR_NDIM(ips), ARR_DIMS(ips)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("allowed_ips must not be empty"),
				 errhint("Null stands for no restriction.")));
	if (array_contains_nulls(ips))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("allowed_ips must not contain nulls")));
}

/* Converts a JSON array of strings into an inet[].  Raises 22023. */
Datum
allowed_ips_from_json(const JsonDocument *document, const JsonDocumentMember *member,
					  const JsonbValue *json)
{
	const char *expected = "null or an array of strings";
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	element;
	Datum	   *inets;
	int			ninets = 0;

	if (json->type != jbvBinary || !JsonContainerIsArray(json->val.binary.data))
		json_document_raise_bad_value(document, member, expected);
	if (JsonContainerSize(json->val.binary.data) > ALLOWED_IPS_MAX)
		raise_too_many_ips();

	inets = palloc(sizeof(Datum) * Max(1, JsonContainerSize(json->val.binary.data)));
	it = JsonbIteratorInit(json->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString)
			json_document_raise_bad_value(document, member, expected);
		inets[ninets++] = json_document_parse_string(document, member, INETOID, &element);
	}

	return PointerGetDatum(construct_array(inets, ninets, INETOID,
										   -1, false, TYPALIGN_INT));
}
