-- What wrk sends. Arguments: what (add, checkout, cart, update, cancel), prefix of the clients' IDs, how many clients, how many products,
-- which client is first, the random numbers' seed, and whether to count the answers by status.
--
-- Adds, updates and views are of random clients and random products. Checkouts and cancellations go through the clients one by one, each once.
-- IDs have a fixed length, so that the head is the same for all.

local counted = {}

function setup(thread)
    table.insert(counted, thread)
end

function init(args)
    local what, prefix, clients, products, first, seed = args[1], args[2], tonumber(args[3]), tonumber(args[4]), tonumber(args[5]), tonumber(args[6])
    math.randomseed(seed)
    statuses = {}
    next_client = first

    local random, format = math.random, string.format
    local path, body
    if what == "cart" then
        request = function()
            return format("GET /cart?clientID=%s%07d HTTP/1.1\r\nHost: %s:%s\r\n\r\n", prefix, random(0, clients - 1), wrk.host, wrk.port)
        end
        return
    elseif what == "update" then
        path = "/updateCart"
        body = function()
            return format('{"clientID":"%s%07d","productID":"p%05d","quantity":%d}', prefix, random(0, clients - 1), random(0, products - 1), random(1, 9))
        end
    elseif what == "cancel" then
        path = "/cancelCheckout"
        body = function()
            next_client = next_client + 1
            return format('{"checkoutID":"019c0%s-0000-7000-8000-%012d"}', prefix:sub(2, 4), next_client - 1)
        end
    elseif what == "add" then
        path = "/addToCart"
        body = function()
            return format('{"clientID":"%s%07d","productID":"p%05d","quantity":1}', prefix, random(0, clients - 1), random(0, products - 1))
        end
    else
        path = "/checkOutCart"
        body = function()
            next_client = next_client + 1
            return format('{"clientID":"%s%07d"}', prefix, next_client - 1)
        end
    end
    local length = #body()
    next_client = first
    local head = format("POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, wrk.host, wrk.port, length)
    request = function() return head .. body() end

    if args[7] == "count" then -- it costs wrk time: only to find out what is wrong
        response = function(status)
            statuses[tostring(status)] = (statuses[tostring(status)] or 0) + 1
        end
    end
end

function done(summary, latency)
    local e = summary.errors
    local us = function(p) return latency:percentile(p) end
    local seen = {}
    for status, n in pairs(counted[1]:get("statuses")) do table.insert(seen, string.format('"%s":%d', status, n)) end
    io.write(string.format('\nRESULT {"requests":%d,"micros":%d,"refused":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,' ..
        '"p50":%d,"p90":%d,"p99":%d,"p999":%d,"max":%d,"next":%d,"statuses":{%s}}\n',
        summary.requests, summary.duration, e.status, e.connect, e.read, e.write, e.timeout,
        us(50), us(90), us(99), us(99.9), latency.max, counted[1]:get("next_client"), table.concat(seen, ",")))
end
