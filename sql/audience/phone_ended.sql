-- Addresses to which some record has ended its consent, or that some record knows to be invalid; `is_consented_again` where
-- another record's own consent is later than every end.
-- Inputs: door_records. Grain: one row an address.
SELECT b.address, coalesce(NOT b.is_invalid AND NOT b.has_no_time AND g.consented_at > b.ended_at, false) AS is_consented_again,
       g.consented_at
FROM (
  SELECT phone_key AS address, max(sms_consent_at) AS ended_at, bool_or(sms_consent_at IS NULL) AS has_no_time,
         bool_or(sms_status = 'invalid') AS is_invalid
  FROM door_records WHERE sms_status IN ('unsubscribed', 'invalid') AND phone_key IS NOT NULL
  GROUP BY phone_key
) b
LEFT JOIN (
  SELECT phone_key AS address, max(sms_consent_at) AS consented_at
  FROM door_records WHERE sms_status = 'subscribed' AND NOT is_deleted AND phone_key IS NOT NULL
  GROUP BY phone_key
) g ON g.address = b.address
