-- Addresses to which some record has ended its consent, or that some record knows to be invalid; `is_consented_again` where
-- another record's own consent is later than every end.
-- Inputs: door_stops, door_records. Grain: one row an address.
WITH ended AS (
  SELECT email_key AS address, max(email_ended_at) AS ended_at, bool_or(email_ended_at IS NULL) AS has_no_time,
         bool_or(email_status = 'invalid') AS is_invalid
  FROM door_stops WHERE email_status IN ('unsubscribed', 'invalid') AND email_key IS NOT NULL
  GROUP BY email_key
)
SELECT e.address, coalesce(NOT e.is_invalid AND NOT e.has_no_time AND g.consented_at > e.ended_at, false) AS is_consented_again,
       g.consented_at
FROM ended e
LEFT JOIN (
  SELECT d.email_key AS address, max(d.email_consent_at) AS consented_at
  FROM ended e JOIN door_records d ON e.address = d.email_key
  WHERE d.email_status = 'subscribed' AND NOT d.is_deleted
  GROUP BY d.email_key
) g ON g.address = e.address
