// An image as the LiteRT file takes it: [size, size, 3] bytes, RGB, as the graph of the SavedModel resizes it.
// Not compiled here: it is Pixels.kt, which was compiled and run, line by line in Swift.

import Foundation

/// [height, width, 3] bytes -> [size, size, 3] bytes, ignoring the aspect ratio.
func resize(_ rgb: [UInt8], width: Int, height: Int, size: Int) -> [UInt8] {
    let across = Float(width) / Float(min(width, size))  // pixels of the image to one of the result; 1 where it grows
    let down = Float(height) / Float(min(height, size))
    var image = rgb.map { Float($0) }
    image = sums(image, lines: height, line: width * 3, place: 3, n: width, size: size, step: across)
    let columns = min(width, size)
    image = sums(image, lines: columns, line: 3, place: columns * 3, n: height, size: size, step: down)
    let rows = min(height, size)
    let share = 1 / (down * across)
    for i in image.indices { image[i] *= share }
    if min(width, height) < size { image = grown(image, width: columns, height: rows, size: size) }
    return image.map { UInt8(min(max($0.rounded(.toNearestOrEven), 0), 255)) }  // ties to even
}

/// Sums over areas of `step` pixels along one axis of `n` places; a pixel that is cut counts in part.
private func sums(_ image: [Float], lines: Int, line: Int, place: Int, n: Int, size: Int, step: Float) -> [Float] {
    if n <= size { return image }
    var shorter = [Float](repeating: 0, count: lines * size * 3)
    let newLine = place == 3 ? size * 3 : line
    for i in 0..<size {
        let start = Float(i) * step
        let end = Float(i + 1) * step
        for k in Int(start.rounded(.down))..<Int(end.rounded(.up)) {
            let part = min(Float(k + 1), end) - max(Float(k), start)
            let from = min(k, n - 1) * place
            for l in 0..<lines {
                for c in 0..<3 {
                    shorter[l * newLine + i * place + c] += image[l * line + from + c] * part
                }
            }
        }
    }
    return shorter
}

/// Bilinear interpolation between the centres of pixels.
private func grown(_ image: [Float], width: Int, height: Int, size: Int) -> [Float] {
    var larger = [Float](repeating: 0, count: size * size * 3)
    for y in 0..<size {
        let v = (Float(y) + 0.5) * (Float(height) / Float(size)) - 0.5
        let top = max(Int(v.rounded(.down)), 0)
        let bottom = min(max(Int(v.rounded(.up)), 0), height - 1)
        let down = v - v.rounded(.down)
        for x in 0..<size {
            let u = (Float(x) + 0.5) * (Float(width) / Float(size)) - 0.5
            let left = max(Int(u.rounded(.down)), 0)
            let right = min(max(Int(u.rounded(.up)), 0), width - 1)
            let across = u - u.rounded(.down)
            for c in 0..<3 {
                func between(_ row: Int) -> Float {
                    let a = image[(row * width + left) * 3 + c]
                    return a + (image[(row * width + right) * 3 + c] - a) * across
                }
                let upper = between(top)
                larger[(y * size + x) * 3 + c] = upper + (between(bottom) - upper) * down
            }
        }
    }
    return larger
}

/// RGBA bytes, not premultiplied, to RGB bytes on white.
func onWhite(_ rgba: [UInt8]) -> [UInt8] {
    var rgb = [UInt8](repeating: 0, count: rgba.count / 4 * 3)
    for i in 0..<rgba.count / 4 {
        let alpha = Int(rgba[i * 4 + 3])
        for c in 0..<3 {
            rgb[i * 3 + c] = UInt8((Int(rgba[i * 4 + c]) * alpha + 255 * (255 - alpha) + 127) / 255)
        }
    }
    return rgb
}
