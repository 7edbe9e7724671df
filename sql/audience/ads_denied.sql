-- Addresses that some record keeps from advertising.
-- Inputs: door_stops. Grain: one row an address.
SELECT DISTINCT address FROM (
  SELECT email_key AS address FROM door_stops WHERE ads_consent = 'denied'
  UNION ALL
  SELECT phone_key FROM door_stops WHERE ads_consent = 'denied'
)
WHERE address IS NOT NULL
