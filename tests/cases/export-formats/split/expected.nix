# wg0.nix
{ ... }:
{
  networking.wg-quick.interfaces."wg0" = {
    privateKeyFile = "/etc/wireguard/wg0.key";
    address = [ "192.168.3.4/24" ];
    peers = [
      {
        publicKey = "1hX8BekXq1jnymqvjpbACijvB0B6W2z4NFs0GHICCUI=";
        presharedKeyFile = "/etc/wireguard/wg0-1.psk";
        allowedIPs = [ "192.168.3.0/24" "172.19.0.0/16" "192.168.33.0/24" ];
        endpoint = "192.168.39.45:51820";
        persistentKeepalive = 25;
      }
    ];
  };
}
# wg0.key
YIpSNgzBqK14ZCDx1F4oWI+xpRYjRQxKWItO3bjl1Eg=
# wg0-1.psk
J3H+9ZTMrtH5yHKec4ayA3Fn5A9zK3labZsB1oLi88Q=
