-- Track and page calls of Segment, one JSON object a line (such as from an S3 destination), whose fields
-- https://segment.com/docs/connections/spec/track/ and https://segment.com/docs/connections/spec/ecommerce/v2/ list. Orders,
-- identify and group calls are left out.
-- Requires: type, messageId, timestamp
-- Reads: event, name, userId, anonymousId, properties, context
-- Ignores: channel, integrations, originalTimestamp, receivedAt, sentAt, version, writeKey, projectId, _metadata, metadata,
--   traits, category, groupId, previousId
-- Leaves out: calls that are no events: type NOT IN ('track', 'page', 'screen')
-- Leaves out: orders, which the shop lands itself: event IN ('Order Completed', 'Order Updated', 'Order Refunded', 'Order Cancelled')
SELECT "messageId" AS event_id, "timestamp" AS occurred_at,
       CASE WHEN type IN ('page', 'screen') THEN 'page_viewed'
            ELSE CASE event WHEN 'Product Viewed' THEN 'product_viewed' WHEN 'Product List Viewed' THEN 'category_viewed'
                 WHEN 'Products Searched' THEN 'searched' WHEN 'Product Added' THEN 'added_to_cart'
                 WHEN 'Product Removed' THEN 'removed_from_cart' WHEN 'Checkout Started' THEN 'checkout_started'
                 WHEN 'Email Delivered' THEN 'email_delivered' WHEN 'Email Opened' THEN 'email_opened'
                 WHEN 'Email Link Clicked' THEN 'email_clicked' WHEN 'Email Bounced' THEN 'email_bounced'
                 WHEN 'Unsubscribed' THEN 'email_unsubscribed' WHEN 'Email Marked as Spam' THEN 'email_marked_as_spam'
                 ELSE replace(lower(event), ' ', '_') END END AS type,
       "userId" AS customer_id, "anonymousId" AS anonymous_id, json_text(properties, 'product_id') AS product_id,
       coalesce(json_text(properties, 'category'), json_text(properties, 'list_id')) AS category,
       json_text(properties, 'query') AS search_term, json_text(properties, 'campaign_id') AS campaign_id,
       json_text(properties, 'coupon') AS coupon_code, json_text(properties, 'rating') AS rating,
       json_text(properties, 'value') AS value, coalesce(json_text(properties, 'url'), json_text(context, 'page.url')) AS url,
       'segment' AS source, properties
FROM raw
WHERE type IN ('track', 'page', 'screen')
  AND coalesce(event NOT IN ('Order Completed', 'Order Updated', 'Order Refunded', 'Order Cancelled'), true)
ORDER BY "timestamp", event_id, _file, _row
