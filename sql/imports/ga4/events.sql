-- Events of Google Analytics 4: its BigQuery export, as Parquet or as JSON Lines (events_YYYYMMDD), whose columns
-- https://support.google.com/analytics/answer/7029846 lists. An event has no id: the visitor, the time in microseconds, the name
-- and the event's place in its bundle are one. Purchases are orders, which the shop lands itself, and are left out.
-- Requires: event_name, event_timestamp, user_pseudo_id
-- Reads: user_id, event_params, items, event_bundle_sequence_id, batch_event_index
-- Ignores: event_date, event_*, privacy_info, user_*, device, geo, app_info, traffic_source, stream_id, platform, ecommerce,
--   collected_traffic_source, is_active_user, batch_*, publisher, session_traffic_source_last_click
-- Leaves out: purchases, which are orders: event_name = 'purchase'
SELECT concat_ws('-', user_pseudo_id, event_timestamp, event_name, event_bundle_sequence_id, batch_event_index) AS event_id,
       arrow_cast(TRY_CAST(event_timestamp AS BIGINT), 'Timestamp(Microsecond, Some("UTC"))') AS occurred_at,
       CASE event_name WHEN 'page_view' THEN 'page_viewed' WHEN 'screen_view' THEN 'page_viewed' WHEN 'view_item' THEN 'product_viewed'
            WHEN 'view_item_list' THEN 'category_viewed' WHEN 'search' THEN 'searched' WHEN 'view_search_results' THEN 'searched'
            WHEN 'add_to_cart' THEN 'added_to_cart' WHEN 'remove_from_cart' THEN 'removed_from_cart'
            WHEN 'begin_checkout' THEN 'checkout_started' ELSE event_name END AS type,
       user_id AS customer_id, user_pseudo_id AS anonymous_id,
       json_text(json_elements(items)[1], 'item_id') AS product_id,
       coalesce(json_text(json_elements(items)[1], 'item_category'), json_param(event_params, 'item_list_name')) AS category,
       json_param(event_params, 'search_term') AS search_term, json_param(event_params, 'campaign') AS campaign_id,
       json_param(event_params, 'medium') AS channel, json_param(event_params, 'coupon') AS coupon_code,
       json_param(event_params, 'value') AS value, json_param(event_params, 'page_location') AS url, 'ga4' AS source
FROM raw
WHERE event_name <> 'purchase'
ORDER BY event_timestamp, event_id, _file, _row
