-- One row of an audience, as the formats' mappings see it: contact columns are null where their channel may not be used. The
-- markers are what may be used: a flag of the row, or `true`.
-- Inputs: written (the rows of chosen.sql that are written). Grain: one row a written member.
SELECT w.customer_id, w.segment,
       coalesce(w.name, nullif(concat_ws(' ', w.first_name, w.last_name), '')) AS name, w.first_name, w.last_name,
       CASE WHEN /*email*/ THEN w.email END AS email, CASE WHEN /*phone*/ THEN w.phone_key END AS phone,
       CASE WHEN /*post*/ THEN w.address END AS address, CASE WHEN /*post*/ THEN w.postal_code END AS postal_code,
       w.city, w.region, w.country, w.language, w.gender, w.birthday,
       CASE WHEN w.email_ok THEN 'subscribed' ELSE w.email_status END AS email_consent, w.email_consent_at,
       w.email_consent_source, w.email_opt_in, w.email_subscribed_at,
       CASE WHEN w.sms_ok THEN 'subscribed' ELSE w.sms_status END AS sms_consent, w.sms_consent_at, w.ads_consent
FROM written w
